//! Reads what is needed of a WebAssembly module: its initial memory, and the constants each function uses.

use anyhow::{Context as _, Result, ensure};
use wasmparser::{Data, DataKind, FunctionBody, Operator, Parser, Payload};

/// Initial memories larger than this are refused rather than allocated (bytes).
const MAX_MEMORY: usize = 256 << 20;

/// A module's initial memory and, for each function in order, the integer constants it pushes.
#[derive(Debug, Default)]
pub(crate) struct WasmModule {
    pub(crate) memory: Vec<u8>,
    pub(crate) function_constants: Vec<Vec<i64>>,
}

impl WasmModule {
    /// Parses the binary format.
    ///
    /// # Errors
    /// If the bytes are not a valid module, or a data segment does not fit into memory.
    pub(crate) fn parse(wasm: &[u8]) -> Result<Self> {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.context("not a WebAssembly module")? {
                Payload::DataSection(segments) => {
                    for segment in segments {
                        module.place(&segment?)?;
                    }
                }
                Payload::CodeSectionEntry(body) => module.function_constants.push(integer_constants(&body)?),
                _ => {}
            }
        }
        Ok(module)
    }

    /// Copies a data segment with a constant address to its place in memory; passive segments have none.
    fn place(&mut self, segment: &Data<'_>) -> Result<()> {
        let DataKind::Active { offset_expr, .. } = &segment.kind else { return Ok(()) };
        let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? else { return Ok(()) };
        let start = usize::try_from(value).context("a data segment starts at a negative address")?;
        let end = start + segment.data.len();
        ensure!(end <= MAX_MEMORY, "a data segment ends at {end}, over the limit of {MAX_MEMORY}");
        self.memory.resize(self.memory.len().max(end), 0);
        self.memory[start..end].copy_from_slice(segment.data);
        Ok(())
    }

    /// The address of the first occurrence of `text` in memory.
    ///
    /// # Errors
    /// If it does not occur.
    pub(crate) fn address_of(&self, text: &[u8]) -> Result<usize> {
        self.memory
            .windows(text.len())
            .position(|window| window == text)
            .with_context(|| format!("the module does not hold {:?}", String::from_utf8_lossy(text)))
    }

    /// The UTF-8 text at `address`.
    ///
    /// # Errors
    /// If the range lies outside memory or is not UTF-8.
    pub(crate) fn text(&self, address: usize, len: usize) -> Result<&str> {
        let bytes = self.memory.get(address..address + len).context("a text lies outside the module's memory")?;
        std::str::from_utf8(bytes).with_context(|| format!("the text at {address} is not UTF-8"))
    }
}

fn integer_constants(body: &FunctionBody<'_>) -> Result<Vec<i64>> {
    let mut constants = Vec::new();
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::I32Const { value } => constants.push(i64::from(value)),
            Operator::I64Const { value } => constants.push(value),
            _ => {}
        }
    }
    Ok(constants)
}

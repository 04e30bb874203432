//! Reading `philly.csv`.

use std::collections::BTreeMap;

/// The columns, in this order.
const HEADER: &str = "timestamp,duration,num_gpus,gpu_time,cluster";

/// A job as it was traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceJob {
    /// When it was submitted: Unix timestamp in seconds, the trace's local time read as UTC.
    pub submitted_s: u32,
    /// How long it ran, in seconds; at least 1.
    pub duration_s: u32,
    /// GPUs that it held.
    pub gpus: u16,
    /// Its virtual cluster, as an index into [`Trace::virtual_clusters`].
    pub virtual_cluster: u32,
}

/// All jobs, the earliest submission first; of one second, in the order of the file.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The jobs.
    pub jobs: Vec<TraceJob>,
    /// The virtual clusters' names, sorted.
    pub virtual_clusters: Vec<String>,
}

/// A trace cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl std::fmt::Display for TraceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for TraceError {}

impl Trace {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Names the first line that is not as [`TraceJob`] needs it.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut lines = (1..).zip(text.lines());
        match lines.next() {
            Some((_, header)) if header.trim() == HEADER => {}
            _ => return Err(TraceError { line: 1, reason: format!("the columns must be {HEADER}") }),
        }
        let mut rows = Vec::new();
        for (line, row) in lines.filter(|(_, row)| !row.trim().is_empty()) {
            rows.push(parse_row(row.trim()).map_err(|reason| TraceError { line, reason })?);
        }
        let names: BTreeMap<&str, u32> = rows.iter().map(|(_, name)| (*name, 0)).collect();
        let numbers: BTreeMap<&str, u32> = names.into_keys().zip(0..).collect();
        let with_cluster = |(job, name): &(TraceJob, &str)| TraceJob { virtual_cluster: numbers[name], ..job.clone() };
        let mut jobs: Vec<_> = rows.iter().map(with_cluster).collect();
        jobs.sort_by_key(|job| job.submitted_s);
        Ok(Self { jobs, virtual_clusters: numbers.into_keys().map(str::to_owned).collect() })
    }

    /// GPU-seconds of all jobs.
    pub fn gpu_seconds(&self) -> u64 {
        self.jobs.iter().map(|job| u64::from(job.gpus) * u64::from(job.duration_s)).sum()
    }

    /// Seconds from the first to the last submission; at least 1.
    pub fn span_s(&self) -> u64 {
        let (first, last) = (self.jobs.first(), self.jobs.last());
        let span = first.zip(last).map_or(0, |(first, last)| last.submitted_s - first.submitted_s);
        u64::from(span.max(1))
    }
}

fn parse_row(row: &str) -> Result<(TraceJob, &str), String> {
    let fields: Vec<&str> = row.split(',').collect();
    let [timestamp, duration, gpus, _gpu_time, cluster] = fields[..] else {
        return Err(format!("{} fields instead of 5", fields.len()));
    };
    let seconds = duration.strip_suffix(".0").unwrap_or(duration);
    let duration_s: u32 = seconds.parse().map_err(|_| format!("`{duration}` is no duration in whole seconds"))?;
    let gpus: u16 = gpus.parse().map_err(|_| format!("`{gpus}` is no number of GPUs"))?;
    if duration_s == 0 || gpus == 0 {
        return Err("a job without time or GPUs".to_owned());
    }
    let submitted_s = unix_seconds(timestamp).ok_or_else(|| format!("`{timestamp}` is no time"))?;
    Ok((TraceJob { submitted_s, duration_s, gpus, virtual_cluster: 0 }, cluster))
}

/// `2017-10-09 07:01:55` as a Unix timestamp.
fn unix_seconds(text: &str) -> Option<u32> {
    let (date, time) = text.split_once(' ')?;
    let numbers =
        |text: &str, separator| text.split(separator).map(|part| part.parse().ok()).collect::<Option<Vec<i64>>>();
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let ([year, month, day], [hour, minute, second]) = (&date[..], &time[..]) else { return None };
    let in_range = (1..=12).contains(month) && (1..=31).contains(day);
    let in_day = (0..24).contains(hour) && (0..60).contains(minute) && (0..60).contains(second);
    if !in_range || !in_day {
        return None;
    }
    let seconds = days_since_1970(*year, *month, *day) * 86_400 + hour * 3_600 + minute * 60 + second;
    u32::try_from(seconds).ok()
}

/// Days from 1970-01-01 in the Gregorian calendar, with years that begin in March, so that a leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_unix_timestamps() {
        assert_eq!(unix_seconds("1970-01-01 00:00:00"), Some(0));
        assert_eq!(unix_seconds("2000-02-29 12:00:00"), Some(951_825_600));
        assert_eq!(unix_seconds("2017-10-09 07:01:55"), Some(1_507_532_515));
        assert_eq!(unix_seconds("2017-13-09 07:01:55"), None);
        assert_eq!(unix_seconds("yesterday"), None);
    }

    #[test]
    fn jobs_come_sorted_and_lines_that_are_wrong_are_named() {
        let text = format!("{HEADER}\n2017-10-09 07:01:55,66.0,1,66.0,b\n2017-10-09 06:13:03,2951.0,8,23608.0,a\n");
        let trace = Trace::parse(&text).unwrap();
        assert_eq!(trace.virtual_clusters, ["a", "b"]);
        assert_eq!(trace.jobs.iter().map(|job| job.gpus).collect::<Vec<_>>(), [8, 1]);
        assert_eq!((trace.gpu_seconds(), trace.span_s()), (23_674, 2_932));
        let error = Trace::parse(&format!("{text}2017-10-09 06:13:03,0.0,8,0,a\n")).unwrap_err();
        assert_eq!(error.to_string(), "line 4: a job without time or GPUs");
        assert_eq!(Trace::parse("time,gpus\n").unwrap_err().line, 1);
    }
}

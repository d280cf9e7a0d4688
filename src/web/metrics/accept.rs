//! Which format a client that scrapes asks for, by its Accept header (RFC 9110, 12.5.1).

/// How metrics are written. Later ones are preferred where a client likes them alike: they tell more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Prometheus' own text, which everything reads.
    Text,
    OpenMetrics,
    /// Prometheus' protobuf, one message a family; only this has native histograms.
    Protobuf,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The one that these headers like best; text where they name none that there is.
    pub fn asked<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let ranges = accept.flat_map(|header| header.split(','));
        let best = ranges.filter_map(liked).max();
        best.map_or(Self::Text, |(_, format)| format)
    }
}

/// How much a media range likes a format, in thousandths. None: it names no format that there is, or refuses it.
fn liked(range: &str) -> Option<(u32, Format)> {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let (mut quality, mut version, mut proto, mut encoding) = (1000, None, None, None);
    for part in parts {
        let (name, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => quality = value.parse::<f64>().ok().map(|q| (q.clamp(0.0, 1.0) * 1e3) as u32)?,
            "version" => version = Some(value),
            "proto" => proto = Some(value),
            "encoding" => encoding = Some(value),
            // Such as charset, or how names are escaped: none here needs it.
            _ => {}
        }
    }
    let format = match kind.as_str() {
        "application/vnd.google.protobuf" => {
            let is_ours = proto == Some("io.prometheus.client.MetricFamily") && encoding == Some("delimited");
            is_ours.then_some(Format::Protobuf)
        }
        "application/openmetrics-text" => {
            let is_known = version.is_none_or(|version| ["1.0.0", "0.0.1"].contains(&version));
            is_known.then_some(Format::OpenMetrics)
        }
        "text/plain" => version.is_none_or(|version| version == "0.0.4").then_some(Format::Text),
        "text/*" | "*/*" => Some(Format::Text),
        _ => None,
    }?;
    (quality > 0).then_some((quality, format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_liked_best() {
        const PROTOBUF: &str =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let native = format!(
            "{PROTOBUF},application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        );
        let usual = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let newest = format!(
            "{PROTOBUF};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
        let cases: [(&[&str], Format); 12] = [
            (&[], Format::Text),
            (&["*/*"], Format::Text),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], Format::Text),
            (&["application/json"], Format::Text),
            (&[&native], Format::Protobuf),
            (&[usual], Format::OpenMetrics),
            (&[&newest], Format::Protobuf),
            (&["text/plain;q=0.3", "application/openmetrics-text;q=0.2"], Format::Text),
            (&["application/openmetrics-text; version=\"1.0.0\"; charset=utf-8"], Format::OpenMetrics),
            (&["application/openmetrics-text;version=2.0.0, text/plain"], Format::Text),
            (&["application/vnd.google.protobuf;proto=other.Message;encoding=delimited"], Format::Text),
            (&["application/openmetrics-text;q=0, text/plain;q=0.001"], Format::Text),
        ];
        for (accept, expected) in cases {
            assert_eq!(Format::asked(accept.iter().copied()), expected, "{accept:?}");
        }
    }
}

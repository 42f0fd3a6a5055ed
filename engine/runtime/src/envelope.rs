//! A batch as timely carries it between operators.

use std::io::{Cursor, Write};
use std::sync::Arc;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use millstream_core::batch::{Batch, Origin};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

/// A batch, and when the oldest record that led to it was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Envelope {
    /// `None` only after the batch was taken out.
    pub(crate) batch: Option<Batch>,
    /// Microseconds of wall clock: for latency only.
    pub(crate) since: u64,
}

impl Envelope {
    pub(crate) fn new(batch: Batch, since: u64) -> Self {
        debug_assert!(batch.num_rows() > 0, "batches with zero rows are invisible to progress tracking");
        Self { batch: Some(batch), since }
    }
}

impl Accountable for Envelope {
    fn record_count(&self) -> i64 {
        self.batch.as_ref().map_or(0, |b| b.num_rows() as i64)
    }
}

/// Between processes: an 8-byte length, a JSON header, then the rows as an Arrow IPC stream, padded to 8 bytes.
/// The peers run the same binary and have proven who they are; a broken message is a bug, and there is no way
/// but a panic to say so from here: the runtime's exit path turns it into a message and an exit code.
impl ContainerBytes for Envelope {
    fn from_bytes(bytes: Bytes) -> Self {
        decode(&bytes).unwrap_or_else(|e| corrupt(&e))
    }

    fn length_in_bytes(&self) -> usize {
        (encode(self).unwrap_or_else(|e| corrupt(&e)).len() + 7) & !7
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let mut bytes = encode(self).unwrap_or_else(|e| corrupt(&e));
        bytes.resize((bytes.len() + 7) & !7, 0);
        if let Err(e) = writer.write_all(&bytes) {
            corrupt(&e.to_string());
        }
    }
}

#[expect(clippy::panic, reason = "timely's container trait has no way to return an error")]
fn corrupt(why: &str) -> ! {
    panic!("a batch cannot travel between processes: {why}")
}

type Header = (u64, Option<(String, String)>);

fn encode(envelope: &Envelope) -> Result<Vec<u8>, String> {
    let batch = envelope.batch.as_ref().ok_or("it was taken out")?;
    let origin = batch.origin.as_ref().map(|o| (o.source.clone(), o.split.clone()));
    let header = serde_json::to_vec(&(envelope.since, origin)).map_err(|e| e.to_string())?;
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(&header);
    let mut writer = StreamWriter::try_new(&mut out, batch.rows.schema_ref()).map_err(|e| e.to_string())?;
    writer.write(&batch.rows).and_then(|()| writer.finish()).map_err(|e| e.to_string())?;
    drop(writer);
    Ok(out)
}

fn decode(bytes: &[u8]) -> Result<Envelope, String> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or("it is too short")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|e| e.to_string())?;
    let (header, rows) = rest.split_at_checked(length).ok_or("its header is cut off")?;
    let (since, origin): Header = serde_json::from_slice(header).map_err(|e| e.to_string())?;
    let mut reader = StreamReader::try_new(Cursor::new(rows), None).map_err(|e| e.to_string())?;
    let rows = reader.next().ok_or("it has no rows")?.map_err(|e| e.to_string())?;
    let origin = origin.map(|(source, split)| Arc::new(Origin { source, split }));
    Ok(Envelope { batch: Some(Batch { rows, origin }), since })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    #[test]
    fn an_envelope_survives_the_wire() {
        let schema =
            Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, false)]));
        let rows = RecordBatch::try_new(
            schema,
            vec![Arc::new(Int32Array::from(vec![Some(1), None])), Arc::new(StringArray::from(vec!["x", "yz"]))],
        )
        .unwrap();
        let origin = Arc::new(Origin { source: "s".into(), split: "p".into() });
        let sent = Envelope::new(Batch { rows, origin: Some(origin) }, 42);
        let mut wire = Vec::new();
        sent.into_bytes(&mut wire);
        assert_eq!(wire.len(), sent.length_in_bytes());
        assert_eq!(wire.len() % 8, 0);
        let got = decode(&wire).unwrap();
        assert_eq!(got.since, 42);
        assert_eq!(got.batch.as_ref().unwrap().rows, sent.batch.as_ref().unwrap().rows);
        assert_eq!(got.batch.unwrap().origin, sent.batch.unwrap().origin);
    }
}

//! Reading a whole table, in segments that are independent of each other.

use std::sync::Arc;

use futures::stream::{self, Stream};
use millstream_core::Result;

use super::client::{Item, Remote};

/// What is scanned, and how.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) remote: Arc<Remote>,
    pub(crate) segments: u16,
    pub(crate) consistent: bool,
    /// The attributes that are wanted; all of them where it does not say. At least one.
    pub(crate) attributes: Option<Vec<String>>,
}

/// Some items of a segment, in its order.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    /// The key of the last item looked at; `None` at the end of the segment.
    pub(crate) last: Option<Item>,
}

impl Scan {
    /// The page of a segment behind the item with the key `after`.
    pub(crate) async fn page(&self, segment: u16, after: Option<&Item>) -> Result<Page> {
        let names = self
            .attributes
            .as_ref()
            .map(|attributes| attributes.iter().enumerate().map(|(i, name)| (format!("#{i}"), name.clone())).collect());
        let projection = self
            .attributes
            .as_ref()
            .map(|attributes| (0..attributes.len()).map(|i| format!("#{i}")).collect::<Vec<_>>().join(", "));
        let call = || {
            self.remote
                .client
                .scan()
                .table_name(&self.remote.table)
                .segment(i32::from(segment))
                .total_segments(i32::from(self.segments))
                .consistent_read(self.consistent)
                .set_exclusive_start_key(after.cloned())
                .set_expression_attribute_names(names.clone())
                .set_projection_expression(projection.clone())
                .send()
        };
        let answer = self.remote.read("Scan", call).await?;
        let last = answer.last_evaluated_key.filter(|key| !key.is_empty());
        Ok(Page { items: answer.items.unwrap_or_default(), last })
    }
}

/// The pages of a segment behind the item with the key `after`.
pub(crate) fn segment(scan: Arc<Scan>, number: u16, after: Option<Item>) -> impl Stream<Item = Result<Page>> + Send {
    stream::try_unfold(Some(after), move |state: Option<Option<Item>>| {
        let scan = scan.clone();
        async move {
            let Some(after) = state else { return Ok(None) };
            let page = scan.page(number, after.as_ref()).await?;
            let next = page.last.clone().map(Some);
            Ok(Some((page, next)))
        }
    })
}

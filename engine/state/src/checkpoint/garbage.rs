//! Removing what no retained checkpoint needs.

use std::collections::BTreeSet;

use millstream_core::Result;

use super::epochs::{Epochs, number_of};
use super::manifest::Manifest;

impl Epochs {
    /// Removes what none of `retained`, the newest manifests up to the last committed one, needs: older manifests,
    /// claims and parts. Objects of later numbers belong to a checkpoint on its way, or to a process that will fail to
    /// claim it, and are left until the number has passed. Gives how many were removed.
    ///
    /// # Errors
    /// As the store; what was not removed is the next time.
    pub async fn collect_garbage(&self, retained: &[Manifest]) -> Result<usize> {
        let (Some(oldest), Some(newest)) = (retained.first(), retained.last()) else { return Ok(0) };
        let needed: BTreeSet<&str> =
            retained.iter().flat_map(|m| m.places.values()).flat_map(|p| &p.parts).map(|p| p.object.as_str()).collect();
        let own =
            |name: &str| retained.iter().any(|m| name.ends_with(&format!("{:012}-{}", m.checkpoint, m.generation)));
        let mut removed = 0;
        for prefix in ["parts/", "manifests/", "committed/", "epochs/"] {
            for object in self.store.list(prefix).await? {
                let Some(n) = number_of(&object.name, prefix).filter(|n| *n <= newest.checkpoint) else { continue };
                let keep = match prefix {
                    "parts/" => needed.contains(object.name.as_str()),
                    "manifests/" => own(&object.name),
                    // Claims last, and the newest never: they tell a process that slept that it is over.
                    _ => n >= oldest.checkpoint,
                };
                if !keep {
                    self.store.delete(&object.name).await?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

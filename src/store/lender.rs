//! Contents that lie elsewhere on this machine and need not be put: a store that borrows them has them.

use crate::base::Digest;
use crate::tree::ContentSource;

/// Gives contents that a store may rely on while it is open. Each was held against its id before it is named.
pub trait Lender: ContentSource + Send {
    /// Tells whether it has the content of that id.
    fn has(&self, id: &Digest) -> bool;
}

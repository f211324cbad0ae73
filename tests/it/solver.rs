//! Solutions: against apt's on the machine's own indexes, against an independent checker on small universes,
//! and what is said when there is none.

mod apt;
mod choices;
mod parity;
mod properties;
mod sentences;
mod worlds;

//! Why a text could not be had. What is wrong inside a text is a [`Diagnostics`](super::Diagnostics).

/// Says why a [`Loader`](super::Loader) has no text for a name.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("there is no such file")]
    Missing,
    #[error("the file is no UTF-8 text: byte {offset} is wrong")]
    NotText { offset: usize },
    #[error("the file has {bytes} bytes, a recipe has at most {most}")]
    TooLarge { bytes: u64, most: u64 },
    #[error("{0}")]
    Unreadable(String),
}

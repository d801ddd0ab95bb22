//! Unit tests of what the transcripts do not show.

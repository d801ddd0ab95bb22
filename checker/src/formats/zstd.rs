//! Zstandard files: frames one after another, each verified against its checksum if it has one.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{
    BlockHeaderReadError, DecodeBlockContentError, DecompressBlockError, FrameDecoderError,
    ReadFrameHeaderError,
};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The content of all frames of a file.
pub(super) struct Frames<R> {
    reader: Counting<R>,
    decoder: FrameDecoder,
    open: bool,
}

/// Counts the compressed bytes.
struct Counting<R> {
    reader: R,
    count: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R> Counting<R> {
    /// What the decoder says, in words, and how far it came.
    fn error(&self, error: &FrameDecoderError) -> io::Error {
        let what = match error {
            FrameDecoderError::ReadFrameHeaderError(_)
            | FrameDecoderError::FrameHeaderError(_)
            | FrameDecoderError::FailedToInitialize(_) => {
                "no frame of zstd begins there".to_owned()
            }
            FrameDecoderError::WindowSizeTooBig { requested, max } => {
                format!(
                    "its window of {requested} bytes is larger than {max}: compress it without --long"
                )
            }
            FrameDecoderError::FailedToReadBlockHeader(BlockHeaderReadError::ReadError(_))
            | FrameDecoderError::FailedToReadBlockBody(
                DecodeBlockContentError::ReadError { .. }
                | DecodeBlockContentError::DecompressBlockError(
                    DecompressBlockError::BlockContentReadError(_),
                ),
            )
            | FrameDecoderError::FailedToReadChecksum(_) => "it ends there too early".to_owned(),
            FrameDecoderError::DictNotProvided { dict_id } => {
                format!("it needs dictionary {dict_id}: compress it without")
            }
            FrameDecoderError::FailedToReadBlockHeader(_)
            | FrameDecoderError::FailedToReadBlockBody(_)
            | FrameDecoderError::DictionaryDecodeError(_)
            | FrameDecoderError::NotYetInitialized
            | FrameDecoderError::FailedToDrainDecodebuffer(_)
            | FrameDecoderError::FailedToSkipFrame
            | FrameDecoderError::TargetTooSmall
            | _ => "a block does not decode".to_owned(),
        };
        io::Error::other(format!(
            "{what}, before byte {} of the compressed data",
            self.count
        ))
    }
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader: Counting { reader, count: 0 },
            decoder: FrameDecoder::new(),
            open: false,
        }
    }

    /// Opens the next frame; false if there is none.
    fn open(&mut self) -> io::Result<bool> {
        while !self.reader.reader.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.reader) {
                Ok(()) => {
                    self.open = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = (&mut self.reader).take(u64::from(length));
                    io::copy(&mut skipped, &mut io::sink())?;
                }
                Err(error) => return Err(self.reader.error(&error)),
            }
        }
        Ok(false)
    }

    fn close(&mut self) -> io::Result<()> {
        self.open = false;
        let stated = self.decoder.get_checksum_from_data();
        if stated.is_some() && stated != self.decoder.get_calculated_checksum() {
            return Err(io::Error::other("the checksum of a frame does not match"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !into.is_empty() {
            if !self.open && !self.open()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.reader, one);
                decoded.map_err(|error| self.reader.error(&error))?;
            }
            let count = self.decoder.read(into)?;
            if count > 0 {
                return Ok(count);
            }
            self.close()?;
        }
        Ok(0)
    }
}

"""An open file of a known format, and the refusals that its decoders share."""

from typing import BinaryIO, NamedTuple, Protocol

from adadsr.errors import ImageFileError
from adadsr.formats import InputFormat
from adadsr.images._picture import Picture


class Opened(NamedTuple):
    """A file, its name for messages, its format and the limit on its pixels.

    lossy_format: see `Picture`.
    """

    name: str
    content: InputFormat
    file: BinaryIO
    max_pixels: int
    lossy_format: str | None = None

    def check_size(self, width: int, height: int) -> None:
        """Refuse a declared size over the limit."""
        if width * height > self.max_pixels:
            raise ImageFileError(
                f"{self.name}: {width}x{height} is over the limit of {self.max_pixels / 1e6:.4g} megapixels; "
                "pass --max-pixels to allow it"
            )

    def damaged(self, cause: str, *, in_part: bool = True) -> ImageFileError:
        """The refusal of a damaged file. in_part: whether the rest can be decoded if its format permits."""
        advice = "get a complete copy"
        if in_part and self.content.decodes_damaged:
            advice += ", or pass --accept-damaged to take what can be decoded"
        return ImageFileError(f"{self.name}: truncated or corrupt {self.content.name} ({cause}); {advice}")

    def bytes(self) -> bytes:
        """The whole file."""
        self.file.seek(0)
        return self.file.read()


class Decoder(Protocol):
    """One open file. Its methods raise ImageFileError."""

    def size(self) -> tuple[int, int]:
        """Height and width of the upright picture, from the header."""

    def picture(self, accept_damaged: bool) -> Picture:
        """Decode everything."""


def several(opened: Opened, count: int) -> ImageFileError:
    """The refusal of a file with several pages or frames. count: 0 if it is unknown."""
    if not count:
        return ImageFileError(f"{opened.name}: is animated; only still images are supported; extract one frame")
    if opened.content.codec == "tiff":
        return ImageFileError(f"{opened.name}: has {count} pages; pass --page to choose one, from 1")
    return ImageFileError(
        f"{opened.name}: has {count} frames; write an animation as PNG, WebP or GIF, or pass --page to choose one frame"
    )

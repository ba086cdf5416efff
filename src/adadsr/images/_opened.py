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
            over = f"{self.name}: {width}x{height} is over the limit of {self.max_pixels / 1e6:.4g} megapixels"
            raise ImageFileError(f"{over}; pass --max-pixels to allow it", "--max-pixels", f"{over}; shrink it")

    def damaged(self, cause: str, *, in_part: bool = True) -> ImageFileError:
        """The refusal of a damaged file. in_part: whether the rest can be decoded if its format permits."""
        text = f"{self.name}: truncated or corrupt {self.content.name} ({cause}); get a complete copy"
        if not (in_part and self.content.decodes_damaged):
            return ImageFileError(text)
        part = f"{text}, or pass --accept-damaged to take what can be decoded"
        return ImageFileError(part, "--accept-damaged", text)

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
        text = f"{opened.name}: has {count} pages"
        return ImageFileError(f"{text}; pass --page to choose one, from 1", "--page", f"{text}; extract one page")
    text = f"{opened.name}: has {count} frames"
    return ImageFileError(
        f"{text}; write an animation as PNG, WebP or GIF, or pass --page to choose one frame",
        "--page",
        f"{text}; extract one frame",
    )

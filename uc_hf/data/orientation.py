"""What a camera has noted down beside the pixels: which side is up, and the rest of the EXIF."""

import logging

from PIL import ExifTags, Image


logger = logging.getLogger(__name__)

# ImageOps.exif_transpose does the same but writes the EXIF anew, and fails where one of its other tags is damaged.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """A loaded image turned as its EXIF asks, and its EXIF without that tag; what is damaged counts as absent."""
    orientation = None
    try:
        if "exif" not in image.info and not image.getexif():
            return image, None
        apart = Image.Image()  # the tag is taken out of what PIL keeps with an image
        apart.info = dict(image.info)
        exif = apart.getexif()
        orientation = exif.pop(ExifTags.Base.Orientation, None)
        rest = exif.tobytes() if exif else None
    except Exception as reason:  # of any kind: Pillow promises none for hostile bytes
        logger.warning("The EXIF of an image is damaged and left out: %s", reason)
        rest = None
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image, rest

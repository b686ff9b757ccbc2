"""Which files are images, by extension."""

from __future__ import annotations

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp")
TRANSCODED_EXTENSIONS = (".tif", ".tiff", ".avif", ".heic", ".heif", ".hif")  # decoded by Pillow before the model
OTHER_IMAGE_EXTENSIONS = (  # images too, but not scored: a folder's row says so
    *(".svg", ".svgz", ".eps", ".psd", ".psb", ".xcf", ".kra", ".jxl", ".jp2", ".j2k", ".jpf", ".jpx", ".jxr", ".dib"),
    *(".ico", ".icns", ".tga", ".pbm", ".pgm", ".ppm", ".pnm", ".pcx", ".exr", ".hdr", ".dds", ".qoi", ".bpg", ".apng"),
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw", ".x3f"),
    *(".mpo", ".3fr", ".raw", ".heics", ".heifs", ".avifs"),
)

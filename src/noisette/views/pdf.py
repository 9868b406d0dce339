"""A page -> the same page as a PDF: by Chromium where there is one, otherwise by PlutoPrint, the extra `[pdf]`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from noisette.errors import UserError

BROWSER = "NOISETTE_CHROMIUM"
"""The environment variable that names a browser to print with, before any other."""

COMMANDS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell"),
    *("microsoft-edge", "msedge", "brave-browser"),
)
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "{PROGRAMFILES}/Google/Chrome/Application/chrome.exe",
    "{PROGRAMFILES(X86)}/Google/Chrome/Application/chrome.exe",
    "{LOCALAPPDATA}/Google/Chrome/Application/chrome.exe",
    "{PROGRAMFILES(X86)}/Microsoft/Edge/Application/msedge.exe",
)
"""Where browsers lie that are not on the PATH; {NAME} is an environment variable."""

FLAGS = (
    *("--headless", "--disable-gpu", "--disable-extensions", "--disable-background-networking"),
    *("--no-first-run", "--no-default-browser-check", "--hide-scrollbars", "--no-pdf-header-footer"),
)
NO_SANDBOX = "--no-sandbox"
"""The superuser, and most containers, cannot have the sandbox. The page and any script on it are our own."""

SECONDS = 120


def write(page: Path, out: Path | None = None) -> tuple[Path, str]:
    """Prints an HTML file as a PDF, beside it by default: (where it is, "printed by ...").

    Raises:
        UserError: nothing on this machine can print it, the browser that NOISETTE_CHROMIUM names cannot, or the place
            cannot be written.
    """
    out = out or page.with_suffix(".pdf")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target: there it can be renamed into place, and a browser in a package of its own may write there.
        folder = tempfile.TemporaryDirectory(dir=out.parent, prefix="pdf-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}): choose another place") from None
    with folder as name:
        made = Path(name) / "page.pdf"
        said = _print(page.resolve(), made, Path(name) / "profile")
        try:
            made.chmod(0o644)
            made.replace(out)
        except OSError as error:
            raise UserError(f"{out}: cannot be written ({error.strerror}): choose another place") from None
    return out, said


def _print(page: Path, made: Path, profile: Path) -> str:
    failed = ""
    for browser in _browsers():
        if why := _by_browser(browser, page, made, profile):
            if os.environ.get(BROWSER):
                raise UserError(f"{browser} ({BROWSER}): cannot print the page: {why}")
            failed = failed or f"; {browser} was tried: {why}"
            continue
        return f"printed by {Path(browser).name}"
    if why := _by_library(page, made):
        raise UserError(
            f"{page.name}: nothing here prints it as a PDF: install Chromium or Chrome ({BROWSER} says where it is), "
            f"or pip install 'noisette[pdf]' ({why}){failed}"
        )
    return "printed by PlutoPrint"


def _browsers() -> Iterator[str]:
    """Browsers that may print, the likeliest first. Raises UserError when NOISETTE_CHROMIUM names none."""
    if named := os.environ.get(BROWSER):
        found = shutil.which(named)
        if found is None:
            raise UserError(f"{named} ({BROWSER}): no such program")
        yield found
        return
    yield from (found for found in map(shutil.which, COMMANDS) if found)
    for place in PLACES:
        with contextlib.suppress(KeyError):
            if (path := Path(place.format_map(os.environ))).is_file():
                yield str(path)


def _by_browser(browser: str, page: Path, made: Path, profile: Path) -> str:
    """Prints the page with a browser; why it could not, or ""."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    why = ""
    for sandbox in ([NO_SANDBOX],) if root else ([], [NO_SANDBOX]):
        command = [browser, *FLAGS, *sandbox, f"--user-data-dir={profile}", f"--print-to-pdf={made}", page.as_uri()]
        why = _run(command)
        with contextlib.suppress(OSError):
            if made.read_bytes()[:5] == b"%PDF-":
                return ""
        why = why or "it wrote no PDF"
    return why


def _run(command: Sequence[str]) -> str:
    """Runs a command to its end; why it failed, or "". Its whole family is ended when it takes too long."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=sys.platform != "win32",
        )
    except OSError as error:
        return error.strerror or str(error)
    with process:
        try:
            _, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"it did not end within {SECONDS} s"
        finally:
            if process.poll() is None:
                _end(process)
    if process.returncode == 0:
        return ""
    lines = errors.decode(errors="replace").strip().splitlines()
    return f"it ended with code {process.returncode}" + (f" ({lines[-1][:200]})" if lines else "")


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _by_library(page: Path, made: Path) -> str:
    """Prints the page with PlutoPrint; why it could not, or ""."""
    try:
        import plutoprint
    except (ImportError, OSError) as error:
        return f"{error}"
    try:
        book = plutoprint.Book(plutoprint.PAGE_SIZE_A4, media=plutoprint.MEDIA_TYPE_PRINT)
        book.load_url(page.as_uri())
        book.write_to_pdf(str(made))
    except (plutoprint.Error, OSError) as error:
        return f"PlutoPrint: {error}"
    return ""

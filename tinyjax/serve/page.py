"""The playground: one page, with its style and script in it, that may load nothing else."""

import base64
import hashlib
import pathlib
import re


def read_page() -> tuple[str, dict[str, str]]:
    """Returns the page, and the headers that let it run its own script and style, and no other."""
    page = pathlib.Path(__file__).with_name("playground.html").read_text(encoding="utf-8")
    policy = {
        "default-src": "'none'",
        "script-src": _hashes(page, "script"),
        "style-src": _hashes(page, "style"),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return page, {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _hashes(page: str, tag: str) -> str:
    """Returns the hashes of a page's elements of a kind, as a policy names them."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in found)
    return " ".join(f"'sha256-{digest}'" for digest in digests)

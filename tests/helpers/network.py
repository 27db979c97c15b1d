"""What a page in the browser asked for."""

from __future__ import annotations

import json
from typing import Any

# The page itself, and the browser's own: a new tab that is still being opened asks for its parts.
_HERE = ("file:", "data:", "about:", "chrome:", "chrome-untrusted:")


def requested(browser: Any) -> list[str]:
    """URLs that were asked for since the performance log was read last."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [each["request"]["url"] for each in sent]


def from_elsewhere(urls: list[str]) -> list[str]:
    """Those of them that lead away from this machine's files."""
    return [url for url in urls if not url.startswith(_HERE)]

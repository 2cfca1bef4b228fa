"""The page at /docs: Swagger UI with the OpenAPI document, in one response that loads nothing from other hosts.

swagger_ui/ has two files of the npm package swagger-ui-dist and their licences. tests/browser/package-lock.json locks
the release, and `make browser` fails if the files differ from it; `make docs-assets` copies them. docs.css and docs.js
are our own: dark mode, contrast, and problems folded below the answer.
"""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import Any

from service.api.openapi.operation import Operation
from service.api.payloads import Response

HERE = Path(__file__).parent

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Task service</title>
<link rel="icon" href="data:,">
<style>$swagger_css</style>
<style>$css</style>
</head>
<body>
<div id="swagger-ui"></div>
<script>$swagger_js</script>
<script>$js</script>
</body>
</html>
""")

POLICY = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        "style-src 'unsafe-inline'",  # Swagger UI sets style attributes
        "script-src {scripts}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The page may run its own two scripts and call its own host. A token typed into it can be sent to no other host."""


@cache
def docs() -> Response:
    """Show this document as a page where you can try the operations.

    It loads nothing from other hosts.
    """
    # 1.9 MB, so it is made at the first request
    files = {
        "swagger_css": "swagger_ui/swagger-ui.css",
        "swagger_js": "swagger_ui/swagger-ui-bundle.js",
        "css": "docs.css",
        "js": "docs.js",
    }
    html = PAGE.substitute({name: (HERE / file).read_text() for name, file in files.items()})
    digests = [sha256(script.encode()).digest() for script in re.findall("<script>(.*?)</script>", html, re.DOTALL)]
    policy = POLICY.format(scripts=" ".join(f"'sha256-{b64encode(digest).decode()}'" for digest in digests))
    headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"max-age=3600"),
    )
    return Response(200, html.encode(), headers)


def root() -> Response:
    """Redirect to the page of the documentation."""
    return Response(307, headers=((b"location", b"/docs"),))


OPERATIONS = {
    "openapi": Operation(200, dict[str, Any]),
    "docs": Operation(200, str, media_type="text/html; charset=utf-8"),
}
"""For the OpenAPI document, by the handler's name."""

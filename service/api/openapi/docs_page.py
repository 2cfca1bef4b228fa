"""The page at /docs: Swagger UI with the OpenAPI document, in one response that loads nothing from other hosts."""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.metadata import distribution
from string import Template
from typing import Any

from service.api.openapi.operation import Operation
from service.api.payloads import Response

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Task service</title>
<link rel="icon" href="data:,">
<style>$style</style>
<style>
  .servers-title, .servers, .response-col_links { display: none } /* there is one server and there are no links */
  .swagger-ui .parameters input[type=text] { max-width: 26rem; width: 100% } /* a UUID fits */
  .swagger-ui textarea.body-param__text { min-height: 7rem }
  .swagger-ui .scheme-container { padding: 0 0 1rem; box-shadow: none }
  .swagger-ui .info { margin: 2rem 0 0 }
</style>
</head>
<body>
<div id="swagger-ui"></div>
<script>$bundle</script>
<script>
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  validatorUrl: null, // else it would send the document to swagger.io
});
</script>
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
    """Show this documentation as a page where you can try the operations.

    It loads nothing from other hosts.
    """
    # 1.8 MB, so it is made at the first request
    package = distribution("offapi")  # to import it would read 9 MB
    style, bundle = (package.locate_file(f"offapi/swagger_{name}").read_text() for name in ("style.css", "bundle.js"))
    html = PAGE.substitute(style=style, bundle=bundle)
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


OPERATIONS = {
    "openapi": Operation(200, dict[str, Any]),
    "docs": Operation(200, str, media_type="text/html; charset=utf-8"),
}
"""For the OpenAPI document, by the handler's name."""

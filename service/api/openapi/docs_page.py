"""The page at /docs: Swagger UI on our document, in one answer that loads nothing from anywhere else."""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.metadata import distribution
from string import Template

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
  .servers-title, .servers, .response-col_links { display: none } /* one server, no links: nothing to choose */
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
"""The page may run its own two scripts and call its own host. The token typed into it can go nowhere else."""


@cache
def page() -> Response:
    """The page. It is 1.8 MB, so it is made when it is first asked for."""
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

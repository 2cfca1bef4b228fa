"""Generated inputs: from the OpenAPI document, and by changes of valid tokens, bodies and messages."""

"""The OpenAPI document and the page that shows it.

`operation.py` has the types in which a package declares its operations, beside its handlers; `document.py` turns the
route table and these declarations into the document; `docs_page.py` serves the page. No operation on tasks is declared
here. Imported by `tasks` and `observability` (`operation.py` only) and by `app`.
"""

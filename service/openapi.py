from service.wire import Response
class Documents:
    def __init__(self, private, public): pass
    def openapi(self): return Response(200, b"{}")
    def docs(self): return Response(200, b"<html></html>", ((b"content-type", b"text/html; charset=utf-8"),))

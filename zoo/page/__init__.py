"""The page that colours photographs in a browser.

Public are `zoo.page.folder.write_page`, which writes it, and `zoo.page.server.PageServer`. The
page's own files lie in `assets`; `runtime` knows those of ONNX Runtime.
"""

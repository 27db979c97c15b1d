"""`zoo page`: the page that colours photographs in a browser, as a folder or served from here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.console import print_json, say
from zoo.cli.parameters import JsonFlag
from zoo.errors import OptionError
from zoo.files import megabytes


def page(
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Folder to write the page to, for any static host. With --serve, the one to "
            "serve. [default: with --serve, one in the cache]",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Models to offer: NAME@WEIGHTS, with commas between, or all whose weights come "
            "along. [default: unet_timm@release]"
        ),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Serve the page to this computer alone, until Ctrl-C."),
    ] = False,
    port: Annotated[
        int, typer.Option(help="Port to serve at; 0 takes any that is free.", min=0, max=65535)
    ] = 8765,
    browser: Annotated[
        bool,
        typer.Option(help="Open the page that is served in the browser."),
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Write or serve a page that colours photographs.

    It is plain files for any static host: models as ONNX, and ONNX Runtime as WebAssembly, which
    run in the browser. Photographs never leave it. Needs the extra onnx.

    Example: zoo page -o site/
    """
    if out is None and not serve:
        raise OptionError("say where the page goes: type -o FOLDER, or --serve to try it here")
    from zoo.page.folder import bundled_models, page_folder, write_page
    from zoo.page.server import PageServer
    from zoo.weights.published import DEFAULT
    from zoo_benchmark.requests import ALL

    named = [name.strip() for name in (DEFAULT if models is None else models).split(",")]
    if named == [ALL]:
        named = bundled_models()
    if not all(named):
        raise OptionError(f"--models takes NAME@WEIGHTS with commas between, got {models!r}")
    folder = out or page_folder()
    server = PageServer(folder, port) if serve else None
    try:
        written = write_page(folder, named, lambda line: say(line, err=True))
        if as_json:
            print_json({"folder": str(folder), "bytes": written.size, "models": [*written.models]})
        else:
            for model in written.models:
                size = megabytes(model["bytes"])
                say(f"{model['title']}: {size}, {model['license']}")
            say(f"written to {folder} ({megabytes(written.size)})")
        if server is not None:
            _serve(server, browser)
    finally:
        if server is not None:
            server.server_close()


def _serve(server: object, browser: bool) -> None:
    """Serves until Ctrl-C."""
    import webbrowser

    from zoo.page.server import PageServer

    assert isinstance(server, PageServer)
    say(f"the page is at {server.url} until you press Ctrl-C")
    if browser and not webbrowser.open(server.url):
        say("note: no browser could be opened; open that address in one", err=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("stopped", err=True)

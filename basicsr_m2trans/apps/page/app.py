"""The page itself: its layout, its events, and how it is served.

Everything that belongs to one open page lies in one folder, named like its session, and goes with
it. The folders of all pages lie in a temporary folder, which goes with the server.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from basicsr_m2trans.apps.page.pictures import upscale_picture
from basicsr_m2trans.inference.upscaler import DISCLAIMER, Upscaler
from basicsr_m2trans.utils.errors import InputError

if TYPE_CHECKING:
    import gradio

HOST = "127.0.0.1"
MAX_FILE_SIZE = "256mb"
TITLE = "M2Trans: ultrasound super-resolution"
# For what a page leaves behind that was closed in the middle of an upload: every ten minutes, what
# is an hour old.
DELETE_CACHE = (600, 3600)
LENS = Path(__file__).with_name("lens.js")


@contextlib.contextmanager
def running_page(upscalers: dict[str, Upscaler], port: int | None) -> Iterator[str]:
    """Serve the page on the loopback address while the block runs; all its files go at the end.

    Sets gradio's environment variables for this process: no analytics, and a temporary folder of
    this server's own.

    Args:
        upscalers: the networks to choose from, by name; see `available_upscalers`.
        port: None for any free one.

    Yields:
        The page's address.

    Raises:
        InputError: gradio is not installed, or the port is taken.
    """
    # Read by gradio when it is imported and when the page is built.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with tempfile.TemporaryDirectory(prefix="m2trans_page_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_page(upscalers, Path(folder))
        try:
            _, address, _ = page.launch(
                server_name=HOST,
                server_port=port,
                share=False,
                prevent_thread_lock=True,
                quiet=True,
                footer_links=[],
                run_history=False,
                max_file_size=MAX_FILE_SIZE,
                js=LENS.read_text(encoding="utf-8"),
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
            )
        except OSError as error:
            raise InputError(f"port {port} of {HOST} is taken; choose another by --port") from error
        try:
            yield address
        finally:
            page.close()


def build_page(upscalers: dict[str, Upscaler], folder: Path) -> "gradio.Blocks":
    """Lay out the page.

    Args:
        upscalers: the networks to choose from, by name.
        folder: where the sessions' folders go; gradio must have it for its cache
            (`GRADIO_TEMP_DIR`).

    Raises:
        InputError: gradio is not installed.
    """
    try:
        import gradio as gr
    except ModuleNotFoundError as error:
        raise InputError(
            "the page needs gradio; install it with `pip install 'basicsr_m2trans[page]'`"
        ) from error

    def session(request: gr.Request) -> Path:
        return folder / f"session_{request.session_hash}"

    def keep(upload: str | None, request: gr.Request) -> str | None:
        """Move an upload to its session's folder, so that it goes with the page."""
        if upload is None:
            return None
        # Gradio names the folder by a checksum of the content: image and reference may have one
        # name.
        kept = session(request) / Path(upload).parent.name / Path(upload).name
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(upload, kept)
        Path(upload).parent.rmdir()
        return str(kept)

    def upscale_image(
        source: str | None, reference: str | None, name: str, frame: int | None, request: gr.Request
    ) -> tuple[tuple[str, str], str, str]:
        if source is None:
            raise gr.Error("Drop an image first.", print_exception=False)
        if frame is None:
            raise gr.Error("Give the number of a frame.", print_exception=False)
        truth = Path(reference) if reference else None
        try:
            result = upscale_picture(upscalers[name], Path(source), session(request), truth, frame)
        except (InputError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from error
        return (str(result.before), str(result.after)), str(result.after), result.report

    def forget(request: gr.Request) -> None:
        shutil.rmtree(session(request), ignore_errors=True)

    def choices(scale: int) -> "gr.Dropdown":
        names = _names(upscalers, scale)
        return gr.Dropdown(choices=names, value=names[0])

    scales = sorted({upscaler.scale for upscaler in upscalers.values()})
    first = next(iter(upscalers.values()))
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=DELETE_CACHE) as page:
        gr.Markdown(
            f"# {TITLE}\nFor {DISCLAIMER}. Images stay on this computer and go when this page is "
            "closed."
        )
        with gr.Row():
            with gr.Column(scale=1):
                source = gr.File(label="Image or DICOM", height=120, elem_id="source")
                label = "Reference (optional): the true large image"
                reference = gr.File(label=label, height=120, elem_id="reference")
                scale = gr.Radio(scales, value=first.scale, label="Scale", elem_id="scale")
                names = _names(upscalers, first.scale)
                model = gr.Dropdown(names, value=first.name, label="Model", elem_id="model")
                frame = gr.Number(1, label="Frame (DICOM)", precision=0, minimum=1, elem_id="frame")
                button = gr.Button("Upscale", variant="primary", elem_id="upscale")
            with gr.Column(scale=3):
                label = "Bicubic | network"
                slider = gr.ImageSlider(
                    label=label, type="filepath", interactive=False, elem_id="comparison"
                )
                report = gr.Markdown(elem_id="report")
                download = gr.File(label="Download", interactive=False, elem_id="download")
        for file in (source, reference):
            file.upload(keep, file, file, show_progress="hidden")
        scale.change(choices, scale, model, show_progress="hidden")
        button.click(upscale_image, [source, reference, model, frame], [slider, download, report])
        page.unload(forget)
    return page


def _names(upscalers: dict[str, Upscaler], scale: int) -> Sequence[str]:
    return [name for name, upscaler in upscalers.items() if upscaler.scale == scale]

"""`m2trans serve`: a page in the browser that upscales images, on this computer alone."""

import argparse

from basicsr_m2trans.cli.arguments import add_architecture, add_number

HELP = "show a page in the browser that upscales images and DICOM (research use, not for diagnosis)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="FILE|NAME",
        help="e.g. experiments/NAME/models/net_g_latest.pth; several times for several networks "
        "to choose from",
    )
    add_number(parser, "--port", 7860, "of this computer")
    settings = parser.add_argument_group("what each network is, if its file does not say it")
    add_architecture(settings)
    parser.add_argument(
        "--device", metavar="D", help="cpu, cuda, cuda:1, ... (default: the GPU if there is one)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    import signal
    import sys
    import threading

    from basicsr_m2trans.apps.page.app import running_page
    from basicsr_m2trans.apps.page.pictures import available_upscalers
    from basicsr_m2trans.utils.errors import InputError

    if not 0 <= args.port <= 65535:
        raise InputError(f"--port {args.port}: choose a number from 0 (any free port) to 65535")
    print("the page starts ...", flush=True)
    upscalers = available_upscalers(
        args.model, scale=args.scale, arch=args.arch, options=args.opt, device=args.device
    )
    # Otherwise a server that is told to stop would leave its folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with running_page(upscalers, args.port or None) as address:
        print(
            f"{address} shows the page in a browser on this computer; Ctrl-C ends it and deletes "
            "its files",
            flush=True,
        )
        threading.Event().wait()
    return 0

"""Writes what a comparison has found so far: tables, and the figures' data from its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from basicsr_m2trans.apps.report.comparison_state import ComparisonState
from basicsr_m2trans.apps.report.figures import detail_panel, trade_off, training_curves
from basicsr_m2trans.apps.report.settings import BICUBIC, Run
from basicsr_m2trans.apps.report.summary import Cell, Key, summarise
from basicsr_m2trans.apps.report.tables import result_tables, results_csv
from basicsr_m2trans.apps.report.training_log import read_training_log
from basicsr_m2trans.apps.report.work import Work
from basicsr_m2trans.data.images import encode_png, read_image, to_tensor
from basicsr_m2trans.evaluation.prepared_set import Scores, build_set, upscale_on_device
from basicsr_m2trans.evaluation.protocols import standard_protocol
from basicsr_m2trans.utils.atomic import write_atomic
from basicsr_m2trans.utils.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_results(work: Work, state: ComparisonState) -> None:
    """Write tables.md, tables.tex, tables.csv and figures/ of complete runs, if there are any."""
    settings = work.settings
    complete = [
        run
        for run in work.runs
        if all(work.scores_file(run, test).is_file() for test in settings.tests)
    ]
    if not complete:
        return
    # Sorted as the user named the methods, whatever the order of the runs was.
    order = list(settings.methods)
    complete.sort(key=lambda run: (run.scale, order.index(run.method)))
    scores: dict[tuple[int, str, str], list[Scores]] = {}
    for run in complete:
        for test in settings.tests:
            found = scores.setdefault((run.scale, run.method, test), [])
            found.append(Scores.read(work.scores_file(run, test)))
    trained = {
        (run.method, run.scale, run.seed): state.trained[run.name]
        for run in complete
        if run.seed is not None
    }
    cells = summarise(scores, settings.reference)
    tables = result_tables(cells, work.counts, trained, settings.reference)
    for name, text in (
        ("tables.md", "# Comparison\n\n" + "\n".join(table.markdown() for table in tables)),
        ("tables.tex", "\n".join(table.latex() for table in tables)),
        ("tables.csv", results_csv(cells, settings.reference)),
    ):
        write_atomic(work.out / name, text.encode())
    for scale in dict.fromkeys(run.scale for run in complete):
        _draw(work, state, [run for run in complete if run.scale == scale], cells)


def _draw(work: Work, state: ComparisonState, runs: list[Run], cells: Mapping[Key, Cell]) -> None:
    """Draw all figures of the runs of one scale."""
    scale, folder = runs[0].scale, work.out / "figures"
    methods = dict.fromkeys(run.method for run in runs)
    logs = {
        (run.method, run.seed): read_training_log(
            work.out / "experiments" / run.name, state.iterations[run.setting]
        )
        for run in runs
        if run.seed is not None
    }
    psnr = {
        (test, method): cells[scale, method, test, "standard", "psnr"].mean
        for test in work.settings.tests
        for method in methods
    }
    counts = {method: work.counts[method, scale] for method in methods}
    figures = {
        f"training_x{scale}": training_curves(logs, f"x{scale}"),
        f"complexity_x{scale}": trade_off(psnr, counts, f"x{scale}"),
    }
    for test, image in work.panels:
        figures[f"{test}_{image}_x{scale}"] = _panel(work, state, runs, test, image)
    for name, figure in figures.items():
        if figure is not None:
            save_figure(figure, folder / f"{name}.png")


def _panel(work: Work, state: ComparisonState, runs: list[Run], test: str, image: str) -> "Figure":
    """Details of one image by bicubic interpolation and every method's first seed."""
    scale = runs[0].scale
    dataset = build_set(work.settings.tests[test], scale)
    item = dataset[[pair.name for pair in dataset.pairs].index(image)]
    lq, hr = item["lq"][None], item["gt"][None]
    first = {BICUBIC: Run(BICUBIC, scale, None)}
    for run in runs:
        first.setdefault(run.method, run)
    images, captions = {}, {}
    for method, run in first.items():
        path = work.out / "results" / run.name / test / f"{image}.png"
        if not path.is_file():
            _write_upscaled(path, work.load(run, state.trained), lq)
        sr = to_tensor(read_image(path))[None]
        scores = standard_protocol(sr, hr, scale)
        images[method], captions[method] = pixels(sr), f"{scores['psnr']:.2f}/{scores['ssim']:.4f}"
    title = f"{test}: {image}, x{scale}; PSNR/SSIM of the whole image"
    return detail_panel(pixels(hr), images, captions, title)


def _write_upscaled(path: Path, network: nn.Module, lq: Tensor) -> None:
    """Keep what a network makes of an image (1, 3, h, w) as PNG for the next time."""
    from basicsr.utils import tensor2img

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, encode_png(tensor2img([upscale_on_device(network, lq)])))


def pixels(image: Tensor) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3) RGB, 8 bits."""
    return (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)

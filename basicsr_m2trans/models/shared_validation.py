"""Validation that the processes of a run share."""

from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from basicsr.metrics import calculate_metric
from basicsr.models.sr_model import SRModel
from basicsr.utils import tensor2img
from torch.utils.data import DataLoader
from tqdm import tqdm

from basicsr_m2trans.data.images import encode_png
from basicsr_m2trans.utils.atomic import write_atomic


class SharedValidationModel(SRModel):
    """BasicSR's `SRModel`, whose validation leaves all images to rank 0 while the others wait, with
    shared validation.

    With n processes, rank r upscales and measures the images r, r + n, r + 2n and so on, each image
    once. Every process has the metrics of all images afterwards, rank 0 logs them.
    """

    def validation(
        self,
        dataloader: DataLoader,
        current_iter: int | str,
        tb_logger: Any,
        save_img: bool = False,
    ) -> None:
        """Upscale all images of a data set, save them if asked, and log the mean of each metric of
        `val: metrics`.

        The mean's sum is rounded once (`math.fsum`), so the metrics are those of one process,
        whatever the order.

        Args:
            dataloader: loader of the data set, whose items are single images in batches of one.
            current_iter: iteration, or in a test the name of the run.
            tb_logger: TensorBoard's writer in rank 0, or None.
            save_img: write the upscaled images below `path: visualization`.
        """
        dataset: Any = dataloader.dataset
        name = dataset.opt["name"]
        rank, processes = self.opt["rank"], self.opt["world_size"]
        if self.opt["dist"]:
            self._share_buffers()
        share = DataLoader(
            dataset, sampler=range(rank, len(dataset), processes), pin_memory=dataloader.pin_memory
        )
        show_progress = self.opt["val"].get("pbar", False) and rank == 0
        rows = []
        for item in tqdm(share, unit="image", disable=not show_progress):
            images = self._upscale(item)
            if save_img:
                path = self._image_path(item, name, current_iter)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, encode_png(images["img"]))
            rows.append([calculate_metric(images, metric) for metric in self._metrics.values()])
        if not self._metrics:
            return
        if self.opt["dist"]:
            shares: list[Any] = [None] * processes
            torch.distributed.all_gather_object(shares, rows)
            rows = [row for each in shares for row in each]
        self._initialize_best_metric_results(name)
        self.metric_results = {
            metric: fmean(values)
            for metric, values in zip(self._metrics, zip(*rows, strict=True), strict=True)
        }
        for metric, value in self.metric_results.items():
            self._update_best_metric_result(name, metric, value, current_iter)
        self._log_validation_metric_values(current_iter, name, tb_logger)

    def _share_buffers(self) -> None:
        """Give every process the buffers of rank 0, which saves them: statistics of BatchNorm
        follow own images.
        """
        for net in (self.net_g, getattr(self, "net_g_ema", None)):
            if net is not None:
                for buffer in self.get_bare_model(net).buffers():
                    torch.distributed.broadcast(buffer, 0)

    @property
    def _metrics(self) -> dict[str, Any]:
        return (self.opt.get("val") or {}).get("metrics") or {}

    def _upscale(self, item: dict[str, Any]) -> dict[str, Any]:
        """BGR uint8 images (H, W, 3): `img` the upscaled one, `img2` the HR image if the item has
        one.
        """
        self.feed_data(item)
        self.test()
        visuals = self.get_current_visuals()
        # Images of different sizes would fill a GPU's memory with blocks that do not fit the next
        # one.
        del self.lq, self.output
        if "gt" in visuals:
            del self.gt
        torch.cuda.empty_cache()
        return {
            key: tensor2img([visuals[of]])
            for key, of in (("img", "result"), ("img2", "gt"))
            if of in visuals
        }

    def _image_path(self, item: dict[str, Any], dataset_name: str, current_iter: int | str) -> Path:
        folder = Path(self.opt["path"]["visualization"])
        stem = Path(item["lq_path"][0]).stem
        if self.is_train:
            return folder / stem / f"{stem}_{current_iter}.png"
        return folder / dataset_name / f"{stem}_{self.opt['val']['suffix'] or self.opt['name']}.png"

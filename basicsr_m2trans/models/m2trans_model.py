"""M2Trans's training step inside BasicSR (Sec. V-A, Eq. 20)."""

import contextlib
import math
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from basicsr_m2trans.inference.less_memory import NetworkRunner
from basicsr_m2trans.inference.tiles import Tiled
from basicsr_m2trans.models.checkpointing import checkpoint_blocks
from basicsr_m2trans.models.out_of_memory import explaining_out_of_memory
from basicsr_m2trans.models.precision import float32_products
from basicsr_m2trans.models.resumable_model import ResumableModel
from basicsr_m2trans.models.training_options import TrainingOptions
from basicsr_m2trans.utils.errors import InputError


class M2TransModel(ResumableModel):
    """BasicSR's `SRModel` with the image-text semantic loss: L_total = L_fid + beta L_sem (Eq. 20).

    Options beside `SRModel`'s: `train: semantic_opt` (an `ImageTextSemanticLoss`; without it the
    model trains on the fidelity loss alone), and those of `TrainingOptions` and
    `CheckpointOptions`, which work with every network. The log has both terms as `l_pix` and
    `l_sem`, weights included. The semantic loss needs data sets that give captions under `text`,
    such as `PairedImageTextDataset`. Validation runs in float32 on the network itself, neither
    compiled nor distributed, and in overlapping tiles with `val: tile`.

    Raises:
        InputError: an option cannot be used.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.training_options = TrainingOptions.from_section(
            opt["train"] if opt["is_train"] else {}
        )
        # They remember which shapes of images did not fit into the GPU's memory.
        self._runners: dict[nn.Module, NetworkRunner] = {}
        super().__init__(opt)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Prepare the network as the options ask for, and wrap it for several processes as BasicSR
        does.
        """
        options = self.training_options
        if (
            (options.compile or options.checkpointing)
            and self.opt["num_gpu"] > 1
            and not self.opt["dist"]
        ):
            raise InputError(
                "train: compile and checkpointing work with one GPU for each process; start with "
                "torchrun and --launcher pytorch, or write num_gpu: 1"
            )
        if options.checkpointing:
            checkpoint_blocks(net)
        if options.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        if self.opt["dist"] and self.device.type == "cpu":
            # BasicSR gives the number of a GPU.
            unused = self.opt.get("find_unused_parameters", False)
            return DistributedDataParallel(net.to(self.device), find_unused_parameters=unused)
        return super().model_to_device(net)

    def init_training_settings(self) -> None:
        """Build the semantic loss beside what `SRModel` builds."""
        train_opt = self.opt["train"]
        if train_opt.get("perceptual_opt"):
            raise InputError(
                "M2TransModel has no perceptual loss; remove train: perceptual_opt or use SRModel"
            )
        semantic_opt = train_opt.get("semantic_opt")
        self.cri_semantic = build_loss(semantic_opt).to(self.device) if semantic_opt else None
        backend = self.training_options.compile
        # A callable beside the network, not in its place: checkpoints, EMA and validation keep the
        # network itself.
        self.train_forward = self.net_g
        if backend:
            # Patches have one size; tracing with symbolic sizes would take many times longer.
            name = "inductor" if backend is True else backend
            self.train_forward = torch.compile(self.net_g, backend=name, dynamic=False)
        super().init_training_settings()

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take over a batch: lq and gt as in `SRModel`, its captions, and its paths for error
        messages.
        """
        # Copied while a GPU still computes, where the loader has pinned memory; `SRModel` waits for
        # the copy.
        for name in ("lq", "gt"):
            if name in data:
                setattr(self, name, data[name].to(self.device, non_blocking=True))
        self.text = data.get("text")
        self.image_paths = data.get("lq_path") or data.get("gt_path") or []

    @explaining_out_of_memory
    def optimize_parameters(self, current_iter: int) -> None:
        """One step on L_fid + beta L_sem.

        Raises:
            InputError: captions are missing, or the loss or its gradient is not finite; the weights
                are then those before this step, in every process.
        """
        torch.manual_seed(self._seed_of_step(current_iter, self.opt["rank"]))
        if self.cri_semantic:
            self.crops = self._draw_crops(self.cri_semantic, current_iter)
        self.optimizer_g.zero_grad()
        with float32_products(self.training_options.tf32):
            losses = self._accumulate_gradients()
        norm = nn.utils.clip_grad_norm_(
            self.net_g.parameters(), self.training_options.grad_clip_norm
        )
        self.log_dict = self._finite_losses(current_iter, losses, norm)
        self.optimizer_g.step()
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def model_ema(self, decay: float = 0.999) -> None:
        """Average the weights; buffers, such as ELAN's BatchNorm statistics, are copied (stock
        BasicSR skips them).
        """
        super().model_ema(decay)
        current = self.get_bare_model(self.net_g).buffers()
        for average, buffer in zip(self.net_g_ema.buffers(), current, strict=True):
            average.copy_(buffer)

    def test(self) -> None:
        """Upscale `self.lq` with the averaged weights if there are any, otherwise with the
        network's own.
        """
        net = self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)
        training = net.training
        net.eval()
        scale, tile = self.opt["scale"], (self.opt.get("val") or {}).get("tile")
        if net not in self._runners:
            self._runners[net] = NetworkRunner(net, scale, get_root_logger().warning, whole=net)
        with torch.no_grad():
            self.output = (Tiled(net, scale, tile) if tile else self._runners[net])(self.lq)
        net.train(training)

    def _accumulate_gradients(self) -> dict[str, Tensor]:
        """Add up the gradients of the batch's parts; returns the terms of the loss of the whole
        batch, detached.
        """
        batch_size = len(self.lq)
        part_size = self.training_options.part_size(batch_size)
        totals: OrderedDict[str, Tensor] = OrderedDict()
        for start in range(0, batch_size, part_size):
            end = start + part_size
            # Gradients of several processes meet once, in the last backward pass.
            alone = self.opt["dist"] and end < batch_size
            with self.net_g.no_sync() if alone else contextlib.nullcontext():
                losses = self._losses(slice(start, end))
                torch.autograd.backward(list(losses.values()))
            for name, value in losses.items():
                totals[name] = totals.get(name, 0) + value.detach()
        return totals

    def _losses(self, images: slice) -> dict[str, Tensor]:
        """Terms of the loss of some of the batch's images, weighted as their part of the whole
        batch.
        """
        lq, gt = self.lq[images], self.gt[images]
        if self.training_options.channels_last:
            lq = lq.contiguous(memory_format=torch.channels_last)
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.training_options.amp == "bf16"
        ):
            output = self.train_forward(lq)
        output = output.float()
        losses = OrderedDict(l_pix=self.cri_pix(output, gt) * self._weight(self.cri_pix))
        if self.cri_semantic:
            if self.text is None:
                raise InputError(
                    "train: semantic_opt needs captions, but the training data set gives none; "
                    "add `captions: FILE.csv` to datasets: train (type PairedImageTextDataset)"
                )
            semantic = self.cri_semantic(output, gt, self.text[images], self.crops[images])
            losses["l_sem"] = semantic * self._weight(self.cri_semantic)
        return losses

    def _weight(self, criterion: nn.Module) -> float:
        """What turns a part's loss into a term of the whole batch's: of a mean its share, of a sum
        (Eq. 14) itself.

        DDP averages gradients over processes, which is right for a mean; a sum must be scaled by
        their number.
        """
        if getattr(criterion, "reduction", "mean") == "sum":
            return self.opt["world_size"]
        return 1 / self.training_options.accumulate

    def _finite_losses(
        self, current_iter: int, losses: dict[str, Tensor], gradient_norm: Tensor
    ) -> dict[str, float]:
        """The losses' means over all processes, for the log.

        Stops every process before the weights take up a value that is not finite in any of them.
        """
        values = torch.stack([*losses.values(), gradient_norm])
        total = values.clone()
        if self.opt["dist"]:
            # What is not finite in one process is not finite in the sum.
            torch.distributed.all_reduce(total)
        # The one time in a step that the processor waits for a GPU; from here on the batch's memory
        # may be used again.
        means = (total / self.opt["world_size"]).tolist()
        if all(map(math.isfinite, means)):
            return dict(zip(losses, means[:-1], strict=True))
        if not values.isfinite().all():
            terms = ", ".join(f"{name} {value.item():g}" for name, value in losses.items())
            cause = (
                f"{terms}, norm of the gradient {gradient_norm.item():g}; images: "
                f"{', '.join(self.image_paths)}"
            )
        else:
            cause = "the values of another process, which names them"
        raise InputError(
            f"training stopped at iteration {current_iter}: the loss or its gradient is not finite "
            f"({cause}). Last good checkpoint: {self.newest_checkpoint}. Look at these images; "
            "then set train: grad_clip_norm and go on with --auto_resume, or begin a new run from "
            "that network with a lower train: optim_g: lr"
        )

    def _draw_crops(self, criterion: Any, current_iter: int) -> Tensor:
        """Crops of the semantic loss for this process's images: (N, K - 1, 2).

        They are those of one process with the whole batch, whose images the sampler deals to the
        ranks in turn.
        """
        rank, processes = self.opt["rank"], self.opt["world_size"]
        generator = torch.Generator().manual_seed(self._seed_of_step(current_iter, rank=0))
        return criterion.draw_corners(len(self.gt) * processes, *self.gt.shape[-2:], generator)[
            rank::processes
        ]

    def _seed_of_step(self, current_iter: int, rank: int) -> int:
        """Random numbers depend on seed, rank and iteration alone, so that resuming is exact."""
        entropy = (self.opt["manual_seed"], rank, current_iter)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])

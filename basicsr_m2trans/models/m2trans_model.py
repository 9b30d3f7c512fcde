"""M2Trans's training step inside BasicSR (Sec. V-A, Eq. 20)."""

from collections import OrderedDict

import numpy as np
import torch
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel

from basicsr_m2trans.errors import InputError


class M2TransModel(SRModel):
    """BasicSR's `SRModel` with the image-text semantic loss: L_total = L_fid + beta L_sem (Eq. 20).

    Options beside `SRModel`'s: `train: semantic_opt` (an `ImageTextSemanticLoss`; without it the model trains on the
    fidelity loss alone). The log has both terms as `l_pix` and `l_sem`, weights included. Training needs data sets
    that give captions under `text`, such as `PairedImageTextDataset`.
    """

    def init_training_settings(self) -> None:
        """Build the semantic loss beside what `SRModel` builds."""
        train_opt = self.opt["train"]
        if train_opt.get("perceptual_opt"):
            raise InputError("M2TransModel has no perceptual loss; remove train: perceptual_opt or use SRModel")
        semantic_opt = train_opt.get("semantic_opt")
        self.cri_semantic = build_loss(semantic_opt).to(self.device) if semantic_opt else None
        super().init_training_settings()

    def feed_data(self, data: dict) -> None:
        """Take over a batch: lq and gt as in `SRModel`, and its captions."""
        super().feed_data(data)
        self.text = data.get("text")

    def optimize_parameters(self, current_iter: int) -> None:
        """One step on L_fid + beta L_sem."""
        self._seed_step(current_iter)
        self.optimizer_g.zero_grad()
        self.output = self.net_g(self.lq)

        losses = OrderedDict(l_pix=self.cri_pix(self.output, self.gt))
        if self.cri_semantic:
            if self.text is None:
                raise InputError(
                    "train: semantic_opt needs captions, but the training data set gives none; "
                    "add `captions: FILE.csv` to datasets: train (type PairedImageTextDataset)"
                )
            losses["l_sem"] = self.cri_semantic(self.output, self.gt, self.text)
            if self.opt["dist"] and self.cri_semantic.reduction == "sum":
                # DDP averages gradients over processes, but Eq. 14 sums over the images of all of them.
                losses["l_sem"] = losses["l_sem"] * self.opt["world_size"]
        sum(losses.values()).backward()
        self.optimizer_g.step()

        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def _seed_step(self, current_iter: int) -> None:
        """Make the step's random numbers a function of seed, rank and iteration, so that resuming is exact."""
        entropy = (self.opt["manual_seed"], self.opt["rank"], current_iter)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))

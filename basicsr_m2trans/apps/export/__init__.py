"""Trained networks as files for other programs: ONNX, TorchScript and safetensors."""

from basicsr_m2trans.apps.export.onnx_file import export_onnx
from basicsr_m2trans.apps.export.safetensors_file import export_safetensors
from basicsr_m2trans.apps.export.torchscript_file import export_torchscript

__all__ = ["export_onnx", "export_safetensors", "export_torchscript"]

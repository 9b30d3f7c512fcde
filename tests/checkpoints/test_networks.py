import hashlib

import pytest
import torch

from basicsr_m2trans.archs import M2Trans
from basicsr_m2trans.checkpoints.networks import build_network, find_model, load_network
from basicsr_m2trans.utils.errors import InputError

SETTINGS = {"type": "M2Trans", "upscale": 3, "num_feat": 8, "num_block": 1}


@pytest.fixture
def save(tmp_path):
    def save(**entries):
        torch.save(entries, tmp_path / "net.pth")
        return tmp_path / "net.pth"

    return save


def weights(fill=None):
    torch.manual_seed(0)
    state = M2Trans(3, num_feat=8, num_block=1).state_dict()
    return (
        state
        if fill is None
        else {name: torch.full_like(value, fill) for name, value in state.items()}
    )


def test_settings_are_read_from_the_checkpoint_and_averaged_weights_preferred(save):
    trained = load_network(save(params=weights(), params_ema=weights(0.25), network_g=SETTINGS))
    assert trained[1:4] == ("M2Trans", 3, 3)
    assert not trained.network.training
    assert all((value == 0.25).all() for value in trained.network.state_dict().values())


def test_trained_models_say_what_they_are(tmp_path):
    from basicsr_m2trans import register

    register()
    from basicsr.models import build_model

    opt = {
        "name": "tiny",
        "model_type": "M2TransModel",
        "num_gpu": 0,
        "dist": False,
        "rank": 0,
        "is_train": False,
    }
    model = build_model(opt | {"network_g": dict(SETTINGS), "path": {"models": str(tmp_path)}})
    model.save_network([model.net_g, model.net_g], "net_g", -1, param_key=["params", "params_ema"])
    trained = load_network(tmp_path / "net_g_latest.pth")
    assert trained[1:4] == ("M2Trans", 3, 3)
    torch.testing.assert_close(
        dict(trained.network.state_dict()), dict(model.net_g.state_dict()), rtol=0, atol=0
    )
    model.load_network(model.net_g, str(tmp_path / "net_g_latest.pth"), True, "params_ema")


def test_a_network_with_the_skip_of_another_one_comes_back(save):
    from basicsr_m2trans import register

    register()
    from basicsr.archs import build_network

    edsr = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1}
    settings = {"type": "GlobalSkip", "upscale": 3, "network": edsr}
    torch.manual_seed(0)
    network = build_network(settings).eval()
    torch.nn.init.normal_(network.network.conv_last.weight, std=0.1)
    path = save(params=network.state_dict(), network_g=settings)
    trained = load_network(path)
    assert trained[1:4] == ("GlobalSkip", 3, 3)
    image = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        assert torch.equal(trained.network(image), network(image))
    with pytest.raises(InputError, match="does not hold the weights of EDSR"):
        load_network(save(params=network.state_dict(), network_g=edsr | {"upscale": 3}))


def test_weights_alone_need_arguments_or_an_option_file(save, tmp_path):
    path = save(params=weights())
    with pytest.raises(
        InputError,
        match=r"holds weights alone, so give --scale and --arch .* or its option file by",
    ):
        load_network(path)
    with pytest.raises(InputError, match=r"so give --arch for a network"):
        load_network(path, scale=3)
    with pytest.raises(
        InputError, match=r"does not hold the weights of M2Trans:\n  missing: body.1"
    ):
        load_network(path, scale=3, arch="M2Trans")
    (tmp_path / "net.yml").write_text(
        "network_g: {type: M2Trans, upscale: 3, num_feat: 8, num_block: 1}\n"
    )
    trained = load_network(path, options=tmp_path / "net.yml")
    torch.testing.assert_close(dict(trained.network.state_dict()), dict(weights()), rtol=0, atol=0)


def test_default_settings_of_an_architecture(tmp_path):
    torch.save({"params": M2Trans(2).state_dict()}, tmp_path / "net.pth")
    assert load_network(tmp_path / "net.pth", scale=2, arch="M2Trans")[1:4] == ("M2Trans", 2, 3)


def test_arguments_that_contradict_the_file(save):
    path = save(params=weights(), network_g=SETTINGS)
    assert load_network(path, scale=3, arch="M2Trans").scale == 3
    with pytest.raises(InputError, match=r"--scale 2: .*net.pth says that the network upscales x3"):
        load_network(path, scale=2)
    with pytest.raises(
        InputError, match=r"--arch ELAN: .*net.pth says that the network is M2Trans"
    ):
        load_network(path, arch="ELAN")


def test_networks_of_basicsr(save, tmp_path):
    from basicsr_m2trans import register

    register()
    from basicsr.archs.edsr_arch import EDSR

    settings = {"num_in_ch": 1, "num_out_ch": 1, "num_feat": 4, "num_block": 1, "upscale": 2}
    path = save(params=EDSR(**settings).state_dict(), network_g={"type": "EDSR"} | settings)
    assert load_network(path)[1:4] == ("EDSR", 2, 1)
    torch.save({"params": EDSR(**settings).state_dict()}, tmp_path / "weights.pth")
    with pytest.raises(
        InputError, match=r"EDSR cannot be built .*num_in_ch.*; give its option file by --opt"
    ):
        load_network(tmp_path / "weights.pth", scale=2, arch="EDSR")
    with pytest.raises(InputError, match=r"EDSR cannot be built \(scale 5 is not supported"):
        load_network(
            save(
                params=EDSR(**settings).state_dict(),
                network_g={"type": "EDSR"} | settings | {"upscale": 5},
            )
        )
    with pytest.raises(InputError, match="EDSRR"):
        load_network(tmp_path / "weights.pth", scale=2, arch="EDSRR")


def test_files_that_are_no_checkpoints(save):
    with pytest.raises(InputError, match="run m2trans convert"):
        load_network(save(model_state_dict=weights()))
    with pytest.raises(InputError, match="has no entry 'params'"):
        load_network(save(state=1))
    with pytest.raises(InputError, match="network_g names no type"):
        load_network(save(params=weights(), network_g={"upscale": 2}))
    with pytest.raises(InputError, match="network_g has no upscale; give it by --scale"):
        load_network(save(params=weights(), network_g={"type": "M2Trans"}))


def test_a_network_for_images_of_other_channels_is_refused(save):
    settings = {"upscale": 2, "num_feat": 8, "num_block": 1, "num_in_ch": 4}
    path = save(params=M2Trans(**settings).state_dict(), network_g={"type": "M2Trans"} | settings)
    with pytest.raises(
        InputError, match=r"net\.pth: the network takes images of 4 channels, neither grey nor RGB"
    ):
        load_network(path)


def test_models_by_path_or_name(tmp_path):
    shipped = tmp_path / "m2trans-x2.safetensors"
    shipped.write_bytes(b"weights")
    (tmp_path / "SHA256SUMS").write_text(
        f"{hashlib.sha256(b'weights').hexdigest()}  {shipped.name}\n"
    )
    assert find_model("m2trans-x2", tmp_path) == shipped
    with pytest.raises(
        InputError, match=r"model m2trans-x9: there is no such file.*\(it has: m2trans-x2\)"
    ):
        find_model("m2trans-x9", tmp_path)
    with pytest.raises(InputError, match="it has: none yet"):
        find_model("m2trans-x2", tmp_path / "none")
    shipped.write_bytes(b"Weights")
    with pytest.raises(InputError, match="is not the file that came with this package"):
        find_model("m2trans-x2", tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match="is not the file that came with this package"):
        find_model("m2trans-x2", tmp_path)
    assert find_model(shipped) == shipped


def test_a_checkpoint_of_swinir_takes_images_of_any_size():
    settings = {"type": "SwinIR", "upscale": 2, "embed_dim": 12, "depths": [2], "num_heads": [2]}
    network = build_network(settings | {"window_size": 8, "upsampler": "pixelshuffle"}, "a.pth")
    with torch.no_grad():
        assert network(torch.rand(1, 3, 11, 5)).shape == (1, 3, 22, 10)

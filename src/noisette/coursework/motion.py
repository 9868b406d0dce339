"""MDM_UNetModel: the U-Net of motion diffusion under the argument names that courses know."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from noisette.errors import UserError
from noisette.experiment import build
from noisette.nets.unet import UNet


class MDM_UNetModel(UNet):
    """eps_theta(x_t, t) for clips of key points: the core's noisette.nets.UNet, for DenoiseDiffusion and any other.

    A convolution of kernel 3; the time through a sinusoid and a two-layer net with SiLU; levels of residual blocks and
    attention, each at half the frames of the one before; the same upwards, with what the levels had found; a norm,
    SiLU and a convolution that starts at zero. The names of the arguments are those of Dhariwal & Nichol 2021.

    Args:
        image_size: frames of a clip, or (key points, frames). It is only remembered: other sizes are taken as well.
        in_channels: numbers a frame, key points x dimensions, for dims=1; channels for dims=2.
        model_channels: width of the first level, even.
        out_channels: as in_channels, or twice that for a learned variance.
        num_res_blocks: residual blocks a level on the way down; one more on the way up.
        attention_resolutions: where attention follows the residual blocks, as the number of frames to a position
            there: 1 is the first level, 2 the next, 4, ... The coarsest level always has one more in its middle.
        dropout: probability in [0, 1).
        channel_mult: width of each level as a multiple of model_channels.
        conv_resample: levels change by a convolution; otherwise by means and repetition, without weights.
        dims: 1, over the frames; 2, over key points and frames as over an image.
        num_heads: heads of every attention.
        use_scale_shift_norm: the time scales and shifts the second norm of a block, instead of being added before it.
        resblock_updown: levels change inside a residual block, whatever conv_resample says.
        padding_mode: what lies beyond the first and the last frame: zeros, reflect, or circular for looping motion.
        clip_dim: size of a vector that conditions the net, of CLIP or any other; 0 or None for none.

    Raises:
        UserError: an argument out of range, in one line.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_res_blocks: int,
        attention_resolutions: Sequence[int] = (),
        dropout: float = 0.0,
        channel_mult: Sequence[int] = (1, 2, 4, 8),
        conv_resample: bool = True,
        dims: int = 1,
        num_heads: int = 1,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        padding_mode: str = "zeros",
        clip_dim: int | None = None,
    ):
        rates = [2**level for level in range(len(channel_mult))]
        for rate in attention_resolutions:
            if rate not in rates:
                raise UserError(f"attention_resolutions: {rate} is none of this net's levels, {rates}")
        resample = "block" if resblock_updown else "conv" if conv_resample else "pool"
        with build.as_user_errors("MDM_UNetModel"):
            super().__init__(
                in_channels,
                out_channels,
                dims=dims,
                channels=model_channels,
                multipliers=channel_mult,
                blocks=num_res_blocks,
                attention=[rates.index(rate) for rate in attention_resolutions],
                heads=num_heads,
                dropout=dropout,
                groups=math.gcd(32, model_channels),
                time="scale_shift" if use_scale_shift_norm else "add",
                resample=resample,
                padding_mode=padding_mode,
            )
        self.image_size = image_size
        self.clip_embedding = nn.Linear(clip_dim, 4 * model_channels) if clip_dim else None

    def forward(self, x: Tensor, timesteps: Tensor, cond: Tensor | None = None) -> Tensor:
        """The noise in x.

        Args:
            x: (B, in_channels, N), any number of frames; or (B, C, J, N), where dims=1 needs C J = in_channels and
                dims=2 needs C = in_channels.
            timesteps: (B,) the step t.
            cond: (B, clip_dim), or None for no condition.

        Returns:
            In the shape of x, with out_channels as x has in_channels.

        Raises:
            UserError: x or cond of another shape.
        """
        if cond is not None and (self.clip_embedding is None or tuple(cond.shape) != (len(x), self.clip_dim)):
            wanted = f"(B, {self.clip_dim})" if self.clip_embedding is not None else "None: clip_dim was not given"
            raise UserError(f"cond of shape {tuple(cond.shape)} must be {wanted}")
        points = x.shape[2] if x.ndim == 4 and self.dims == 1 else 0
        with build.as_user_errors("MDM_UNetModel"):
            out = super().forward(x.flatten(1, 2) if points else x, timesteps, cond)
        return out.unflatten(1, (-1, points)) if points else out

    @property
    def clip_dim(self) -> int:
        return 0 if self.clip_embedding is None else self.clip_embedding.in_features

    def embed(self, n: int, c_noise: Tensor, cond: Tensor | None) -> Tensor:
        emb = self.time_embedding(c_noise)
        return emb if cond is None or self.clip_embedding is None else emb + self.clip_embedding(cond)

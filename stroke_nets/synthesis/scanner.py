"""Scanner artefacts: shading, blur, ringing, ghosts, noise."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.synthesis.fields import smooth_field
from stroke_nets.synthesis.head import Float32


def scan(rng: np.random.Generator, image: Float32) -> NDArray[np.int16]:
    """Scan a head.

    Every scan has shading and noise; some have thick slices, ringing or motion ghosts.

    Args:
        rng: random generator.
        image: intensities of about 0 to 1, (X, Y, Z); modified in place.

    Returns:
        The scan, in arbitrary scanner units.
    """
    image *= np.exp(rng.uniform(0.03, 0.15) * smooth_field(rng, image.shape, 70, np.float32))
    if rng.random() < 0.4:  # thick slices, or a scan of lower resolution resampled to 1 mm
        axis, thickness = int(rng.integers(3)), rng.uniform(1.2, 3.0)
        ndimage.gaussian_filter1d(image, thickness / 2.355, axis=axis, output=image)
    if rng.random() < 0.35:
        image = _through_k_space(rng, image)
    level = rng.uniform(0.008, 0.035)
    noise = level * rng.standard_normal((2, *image.shape), np.float32)
    magnitude = np.hypot(image + noise[0], noise[1])  # Rician
    return np.rint(rng.uniform(300, 1000) * magnitude).astype(np.int16)


def _through_k_space(rng: np.random.Generator, image: Float32) -> Float32:
    """Truncate the high frequencies of one axis, or move the head during the readout."""
    axis = int(rng.integers(3))
    line = [-1 if a == axis else 1 for a in range(3)]
    spectrum = np.fft.fft(image, axis=axis).astype(np.complex64)
    frequency = np.fft.fftfreq(image.shape[axis]).astype(np.float32)
    if rng.random() < 0.5:
        change = (np.abs(frequency) < 0.5 * rng.uniform(0.6, 0.85)).astype(np.complex64)
    else:
        change = _moved(rng, frequency)
    spectrum *= change.reshape(line)
    return np.fft.ifft(spectrum, axis=axis).real.astype(np.float32)


def _moved(rng: np.random.Generator, frequency: Float32) -> NDArray[np.complex64]:
    """Phase error of a head that swings by up to 1 mm during a sequential readout."""
    time = np.argsort(np.argsort(frequency)) / len(frequency)
    swing = rng.uniform(0.3, 1.0) * np.sin(2 * np.pi * (rng.uniform(2, 8) * time + rng.random()))
    swing[np.abs(frequency) < 0.02] = 0  # the centre of k-space is read while the head is still
    return np.exp(-2j * np.pi * frequency * swing).astype(np.complex64)

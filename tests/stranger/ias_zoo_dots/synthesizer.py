import numpy as np

import ias_zoo


class Dots(ias_zoo.ImageSynthesizer):
    def draw(self, request, rng):
        image = request.normal.copy()
        height, width = image.shape[:2]
        y, x = rng.integers(height), rng.integers(width)
        rows, columns = np.ogrid[:height, :width]
        mask = (rows - y) ** 2 + (columns - x) ** 2 <= max(1.0, self.options.radius * min(height, width)) ** 2
        image[mask] = image[mask] // 3
        return ias_zoo.Drawn(image=image, mask=mask, drawn={"y": y, "x": x})

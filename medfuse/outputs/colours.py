"""The colour of each segment, the same in every file and picture."""

import colorsys


def rgb_of(number: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of the segment that comes `number`th, from 1.

    A colour far from those of the numbers before it: the hue turns by the golden ratio each time.
    """
    red, green, blue = colorsys.hsv_to_rgb((number - 1) * 0.618034 % 1, 0.7, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)

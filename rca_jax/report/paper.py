"""The numbers the paper prints (arXiv 2505.19465), to stand beside measured ones."""

# Table I: NMSE in dB by compression ratio and SNR in dB; columns as named here.
TABLE1_METHODS = ('BL1', 'BL2', 'BL3', 'BL4', 'BL5', 'RCA-MUNet')
TABLE1: dict[tuple[str, float], tuple[float, ...]] = {
    ('1/4', 20): (-24.58, -19.17, -25.26, -25.88, -24.68, -26.91),
    ('1/4', 10): (-20.55, -17.45, -20.88, -20.74, -20.56, -21.60),
    ('1/4', 0): (-13.81, -11.41, -14.14, -13.89, -13.91, -14.76),
    ('1/8', 20): (-20.26, -16.51, -21.99, -21.00, -20.25, -22.97),
    ('1/8', 10): (-16.32, -14.99, -17.89, -17.41, -16.49, -18.74),
    ('1/8', 0): (-11.01, -8.97, -11.82, -11.40, -11.14, -12.24),
    ('1/16', 20): (-16.76, -14.37, -18.08, -17.20, -16.95, -19.24),
    ('1/16', 10): (-14.69, -12.70, -15.69, -14.94, -15.00, -16.76),
    ('1/16', 0): (-7.47, -6.16, -8.75, -8.38, -7.68, -8.85),
    ('1/32', 20): (-13.59, -10.84, -14.77, -14.43, -13.65, -16.04),
    ('1/32', 10): (-11.03, -9.36, -12.44, -11.64, -11.01, -13.01),
    ('1/32', 0): (-4.21, -3.36, -5.41, -5.28, -4.22, -5.61),
}
# Noise-free, by compression ratio.
CDL_OP = {'1/4': -11.02, '1/8': -7.59, '1/16': -4.71, '1/32': -1.72}
# Table II, at CR 1/8, as printed: (method, UEs, FLOPs, parameters). Single-user FLOPs are a UE's.
TABLE2 = (
    ('BL1', 1, '144.96 M', '5.55 M'),
    ('BL2', 1, '82.47 M', '1.24 M'),
    ('BL3', 2, '346.60 M', '6.44 M'),
    ('RCA-MUNet', 2, '289.83 M', '5.55 M'),
    ('RCA-MUNet', 4, '579.66 M', '5.55 M'),
)


def table1(method: str, ratio: str, snr_db: float | None) -> float | None:
  """NMSE in dB of a cell of Table I, SNR None for CDL-OP; None where the paper has none."""
  if method == 'CDL-OP' and snr_db is None:
    return CDL_OP.get(ratio)
  cells = None if snr_db is None else TABLE1.get((ratio, snr_db))
  return cells[TABLE1_METHODS.index(method)] if cells and method in TABLE1_METHODS else None

"""Folders of pairs whose right answer is exact, made from any cut-outs and photographs.

    python -m lab.photographs.make --kind self --cutouts FOLDER --photographs FOLDER --pairs 8 --out DIR

`self`: the reference is the target's own figure, recoloured and moved, on another photograph; the truth is the target
recoloured the same way. `composite`: two cut-outs on two photographs, for masks. `large`: as `self`, with figures cut
by a smooth random outline from photographs of 8 megapixels and more.
"""

"""The page: one HTML file that needs no network.

- :mod:`.page`: its parts put together.
- :mod:`.grid`: the table, and the data behind each cell.
- :mod:`.environment`: what the runs were made with, from their manifests.
- ``page.css``, ``page.js``: as written in the file.
"""

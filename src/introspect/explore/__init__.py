"""The explorer: runs in a browser, read as pages ask for them, served to this machine only (the extra `explore`).

`serving` listens, `guard` decides who is answered, `app` finds the page, `pages` makes it. `opened` reads a folder
strictly, since it may be a stranger's; `index` knows where each rollout lies and holds no text. Nothing is written.
"""

"""From jobs to scripts, through templates that a site may override."""

from hpcorch.render.filters import FILTERS
from hpcorch.render.loader import CORE_PREFIX, refuse_if_others_may_write
from hpcorch.render.renderer import Renderer, Script

__all__ = ["CORE_PREFIX", "FILTERS", "Renderer", "Script", "refuse_if_others_may_write"]

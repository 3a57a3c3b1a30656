"""The site profile: what is true of a machine, and which file or variable says so."""

from hpcorch.sites.layers import load_site, template_dirs
from hpcorch.sites.profile import Queue, Site

__all__ = ["Queue", "Site", "load_site", "template_dirs"]

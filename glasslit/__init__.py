from .configuration import Configuration
from .store import load, save

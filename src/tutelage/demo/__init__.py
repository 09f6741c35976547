"""A first look: on a thousand real images, does a teacher make a small student better?"""

from tutelage.demo.experiment import run_demo
from tutelage.demo.results import DemoResults
from tutelage.demo.settings import DemoSettings, demo_settings

__all__ = ["DemoResults", "DemoSettings", "demo_settings", "run_demo"]

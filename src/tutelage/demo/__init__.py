"""A first look: on a thousand real images, does a teacher make a small student better?"""

from tutelage.demo.run import DemoSettings, demo_settings, demo_study, run_demo

__all__ = ["DemoSettings", "demo_settings", "demo_study", "run_demo"]

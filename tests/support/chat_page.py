"""The admin's chat page as somebody uses it."""

from __future__ import annotations

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

# The text takes a second or two: a click that is sent from here may come too late.
STOP_ONCE_IT_WRITES = """
const state = document.getElementById('chat-state');
new MutationObserver((_, watching) => {
  if (!state.textContent.includes('it writes')) return;
  watching.disconnect();
  document.getElementById('chat-stop').click();
}).observe(state, { childList: true, characterData: true, subtree: true });
"""


def fill_in(page: webdriver.Chrome, **fields: str) -> None:
    for name, value in fields.items():
        field = page.find_element(By.NAME, name)
        page.execute_script("arguments[0].value = arguments[1]", field, value)


def shown(page: webdriver.Chrome, name: str) -> str:
    text: str = page.execute_script(f"return document.getElementById('{name}').textContent")
    return text


def until_shown(page: webdriver.Chrome, name: str, *parts: str) -> None:
    def there(_: object) -> bool:
        error = shown(page, "chat-error")
        assert error == "", error
        return all(part in shown(page, name) for part in parts)

    WebDriverWait(page, 120, 0.1).until(there, f"{name}: {shown(page, name)!r} without {parts}")

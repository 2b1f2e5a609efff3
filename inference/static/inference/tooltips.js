/**
 * Django's lists of chosen and unchosen rows explain themselves by spans that have a name and no role; without one
 * the name is not read out. They are there once the page's other scripts have run.
 */
addEventListener('load', () => {
  for (const tip of document.querySelectorAll('.help-tooltip[aria-label]')) {
    tip.setAttribute('role', 'img');
  }
});

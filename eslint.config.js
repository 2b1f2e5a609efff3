import js from '@eslint/js';
import globals from 'globals';

export default [
  { ignores: ['.venv/**', 'node_modules/**', 'var/**'] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2024, sourceType: 'module' },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'no-var': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['browsers/static/**/*.js', 'inference/static/**/*.js'],
    languageOptions: { globals: { ...globals.browser, ...globals.worker } },
  },
  {
    files: ['tests/js/**/*.js', 'tests/js/**/*.mjs', 'inference/sandbox/*.mjs', 'eslint.config.js'],
    languageOptions: { globals: globals.node },
  },
];

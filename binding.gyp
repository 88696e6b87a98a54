{
  # The build is CMake's. This target lets node-gyp and what calls it drive it: the addon is put where they look for it.
  "targets": [
    {
      "target_name": "vantage",
      "type": "none",
      "actions": [
        {
          "action_name": "build_from_source",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/vantage.node"],
          "action": ["node", "scripts/build_from_source.mjs", "--out", "<(PRODUCT_DIR)"]
        }
      ]
    }
  ]
}

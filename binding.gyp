{
  # The build is CMake's. This target lets npm, node-gyp, node-gyp-build and prebuildify drive it: it runs cmake-js (in a folder of its
  # own, build/ is gyp's) and puts the addon where they look for it.
  "targets": [
    {
      "target_name": "vantage",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake_js",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build-cmake/Release/vantage.node"],
          "action": ["node", "<!(node -p \"require.resolve('cmake-js/bin/cmake-js')\")", "compile", "--out", "build-cmake", "--config", "Release", "--target", "vantage"]
        }
      ],
      "copies": [
        {
          "files": ["build-cmake/Release/vantage.node"],
          "destination": "<(PRODUCT_DIR)"
        }
      ]
    }
  ]
}

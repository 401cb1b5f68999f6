# Run by CPack on the files of the Debian package before it is made: what a package has and
# `cmake --install` leaves to the distribution.
set(root ${CPACK_TEMPORARY_DIRECTORY}/usr)
set(documents ${root}/share/doc/klaviyo-worker)
find_program(GZIP gzip REQUIRED)

function(compress file)
  execute_process(COMMAND ${GZIP} -9n ${file} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

configure_file(${CMAKE_CURRENT_LIST_DIR}/../deploy/debian/changelog ${documents}/changelog COPYONLY)
configure_file(${CMAKE_CURRENT_LIST_DIR}/../deploy/debian/lintian-overrides
  ${root}/share/lintian/overrides/klaviyo-worker COPYONLY)
execute_process(
  COMMAND ${CMAKE_CURRENT_LIST_DIR}/../deploy/sbom ${root}/bin/klaviyo-worker ca-certificates
  OUTPUT_FILE ${documents}/sbom.spdx.json COMMAND_ERROR_IS_FATAL ANY)
compress(${documents}/changelog)
compress(${root}/share/man/man1/klaviyo-worker.1)

# What is made here would have the rights that the umask of whoever builds leaves.
set(rights OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
file(CHMOD ${documents}/changelog.gz ${documents}/sbom.spdx.json
  ${root}/share/lintian/overrides/klaviyo-worker PERMISSIONS ${rights})
file(CHMOD_RECURSE ${CPACK_TEMPORARY_DIRECTORY}
  DIRECTORY_PERMISSIONS ${rights} OWNER_EXECUTE GROUP_EXECUTE WORLD_EXECUTE)
